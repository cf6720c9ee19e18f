"""Models on a Ray cluster: actors that hold engines, and engines here that ask them."""
