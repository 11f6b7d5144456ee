"""How objects cross between processes: bytes, exceptions, messages on a channel, results in a journal."""
