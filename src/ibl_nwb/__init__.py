"""International Brain Laboratory sessions (Alyx + ALF) to NWB, as NeuroConv interfaces."""
