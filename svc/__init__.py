"""betmesh: twelve services on one NATS."""
