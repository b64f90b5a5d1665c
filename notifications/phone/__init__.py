"""A stand-in of FCM on loopback, with phones behind it: for tests, the demo, and whoever has no Firebase project."""
