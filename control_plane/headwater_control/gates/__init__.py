"""The ways in: HTTP, gRPC, MQTT. They call service and decide nothing."""
