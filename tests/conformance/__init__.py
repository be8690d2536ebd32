"""What a holdfast primitive does, whatever its tier: docs/spec.md as tests.

The tests see a tier only through `adapter.Tier`. A new tier, or a new engine, implements that and adds itself to
`tiers.TIERS`. Nothing here counts iterations of an event loop; test_iterations.py does, for the task tier.
"""
