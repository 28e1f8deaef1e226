# A minute for a test and 0.1 s for a message, the defaults, are little on a busy machine.
ExUnit.start(timeout: 600_000, assert_receive_timeout: 60_000)
