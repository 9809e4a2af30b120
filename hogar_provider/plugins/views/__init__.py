"""What the provider adds to flask-appbuilder, by which FAB's roles know of HOGAR."""
