"""What other greylisting services left behind, as entries and settings of ours."""
