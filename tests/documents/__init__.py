"""The reference pages under docs/, written from the code itself."""
