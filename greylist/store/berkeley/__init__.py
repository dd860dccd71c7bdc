"""The store in a Berkeley DB BTree: all that knows of libdb, of locks and of files."""
