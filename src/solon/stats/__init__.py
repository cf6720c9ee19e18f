"""Statistics on plain numbers: intervals, calibration, variety of texts."""
