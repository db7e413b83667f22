"""The agent's ways to the world: MQTT, gRPC, disk, child processes."""
