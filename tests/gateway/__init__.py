"""Tests of the gateway: real servers, the services it calls, and real HTTP, WebSocket and gRPC."""
