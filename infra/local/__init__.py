"""AWS on this machine: two maintained emulators behind one loopback endpoint.

ministack serves what Plinth itself runs on, moto what environments consist of. Each other file here
mends what one service lacks; `serve.py` puts them together.
"""
