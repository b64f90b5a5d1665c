"""Push through Firebase Cloud Messaging: firebase-admin builds the messages, a connection of our own sends them."""
