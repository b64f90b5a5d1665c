"""What staff read about the programme as a whole: counted from the journal, entry by entry."""
