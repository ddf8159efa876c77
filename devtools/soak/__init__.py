"""Many messages through the whole local stack, with faults all along: is any lost, is any doubled, does memory grow?"""
