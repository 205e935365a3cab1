"""Whether executors, profiles and frameworks agree on one network, spike for spike."""
