"""What tests share: deadlines, a raw client, processes.

A test of the network here opens real loopback sockets, and waits for what it
wants to see, never for a time: ``wait_until`` polls a condition, ``Client``
reads until a marker, ``Program`` waits for a line. Each has one deadline, which
only a failing test ever reaches.
"""
