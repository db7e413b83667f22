"""Death, and a disk's refusal, at every durable call of a full task and a full round: `make durability`."""
