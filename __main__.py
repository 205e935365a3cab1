from spikeproof.cli import main

main()
