//! What a feed's ops say about the feed as a whole: who may write, what is sealed, what is blocked.
