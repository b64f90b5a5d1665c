"""What is true about members, value and rules. Knows no GraphQL, HTTP, JWT or Firebase."""
