"""The leaderboard: what every method claims, and what is left of it under a reliable attack and on the chip."""
