from callsmith.cli.app import main

main()
