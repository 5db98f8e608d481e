"""What student and teacher are to each other: terms, criterion, feature extraction, the frozen teacher."""
