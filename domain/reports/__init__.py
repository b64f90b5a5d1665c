"""What staff read of the programme as a whole: counted from the journal, entry by entry."""
