"""The outside world for development and tests: a payment, an SMS and an odds provider.

They share no code with the services; what the two sides agree on is only what travels by HTTP.
"""
