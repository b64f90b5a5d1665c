"""A stand-in for FCM on loopback, with phones behind it: for tests, the demo, and anyone without a Firebase project."""
