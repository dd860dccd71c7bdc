"""Other greylisting services' databases and options, as entries and settings of ours."""
