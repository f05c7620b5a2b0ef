"""Starts, stops and looks into everything that the services stand on."""
