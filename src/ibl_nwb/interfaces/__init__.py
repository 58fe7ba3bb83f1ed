"""One NeuroConv interface per ALF object family. The list below is the one place a new family is added to."""
