"""Moleculer beside the mesh: a program of another language, installed where node is there."""
