"""Compiles the guests that a guest.toml describes into guests/build/LANGUAGE/NAME.wasm: the program behind bin/guests."""
