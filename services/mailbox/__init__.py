"""Where delivered mail lies: Maildirs, written by the MDA and read by whoever looks into a mailbox."""
