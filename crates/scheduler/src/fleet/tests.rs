//! A fleet of nodes that keep nothing but their books.
