"""How fast the simulator is: requests a minute, a whole week, our own policy's day, and beside another simulator."""
