"""Where a run's randomness comes from: fixed integer mixing, the same on every machine and Python."""

from zlib import crc32

from headwater_wire.ids import DeviceId

_MASK = (1 << 64) - 1


def mix(*words: int) -> int:
    """Fold integers into one of 64 bits, with the finalizer of SplitMix64 (Steele, Lea and Flood 2014) per word."""
    state = 0
    for word in words:
        state = (state + word + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def task_seed(run_seed: int, round_number: int, order: int) -> int:
    """Seed one device's training in a round."""
    return mix(1, run_seed, round_number, order)


def shuffle_rank(run_seed: int, round_number: int, device: DeviceId) -> tuple[int, str]:
    """Rank a device in a round's draw: sorting by it shuffles, and who else is there changes no one's rank."""
    return mix(2, run_seed, round_number, crc32(device.encode())), device
