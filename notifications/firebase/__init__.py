"""Push through Firebase Cloud Messaging: firebase-admin for what is said, a connection of our own for saying it."""
