"""Which of several daemons works: elections, and how long the winner may believe that it still leads."""
