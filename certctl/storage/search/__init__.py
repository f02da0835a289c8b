"""What operators look for: lists that are filtered, and walked from the newest on by their ids."""
