"""The leaderboard: what every method claims, and what is left of it under a reliable attack and on the chip."""

METHODS = "plain,plain-avg,at,trades,rat,sr,tgo,slif,trr,lfm,sca,self_connection,cap"
"""What the leaderboard measures by default; here, so that the command line reads it without PyTorch."""
