//! Refs (tags, dist-tags): the last writer wins.
