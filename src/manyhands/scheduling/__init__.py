"""One call: pull the input, plan, send, put in order, raise what the loop would have raised."""
