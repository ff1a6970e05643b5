"""Laws that every loss of the table obeys, written as callable checks so that wrong losses can be tried on them."""
