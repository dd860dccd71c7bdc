"""The store in a Berkeley DB BTree: the only modules that know of libdb, of locks and of files."""
