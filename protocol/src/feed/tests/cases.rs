//! The edge cases of multi-site feeds, each by what it shows. A letter and number in a comment is the case's name in the design.
