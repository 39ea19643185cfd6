"""What is built here where no image registry and no release download is reached. Most sites need none of it."""
