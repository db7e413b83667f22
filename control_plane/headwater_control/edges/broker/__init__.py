"""An MQTT v5 broker in the control plane's own event loop."""
