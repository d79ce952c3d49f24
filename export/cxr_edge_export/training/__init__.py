"""Training a recipe's network, on images prepared by the runtime's own road."""
