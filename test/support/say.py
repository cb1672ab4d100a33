# A server that tells its name to whoever connects to port 80, on every address that its host has: say.py NAME
import socket
import sys

server = socket.create_server(("", 80))
while True:
    connection, _ = server.accept()
    connection.sendall(sys.argv[1].encode())
    connection.close()
