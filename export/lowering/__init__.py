"""From a NIR graph to the integer Program."""
